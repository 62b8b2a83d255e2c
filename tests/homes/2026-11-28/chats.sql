PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE answers (
        row INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        chat TEXT NOT NULL,
        turn TEXT NOT NULL,
        position INTEGER NOT NULL,
        speaker TEXT NOT NULL,                   parent TEXT,                             settings TEXT NOT NULL,                  skipped INTEGER NOT NULL,
        corrects TEXT,                           text TEXT NOT NULL DEFAULT '',
        reasoning TEXT NOT NULL DEFAULT '',
        calls TEXT NOT NULL DEFAULT '[]',
        state TEXT NOT NULL,                     detail TEXT NOT NULL DEFAULT '{}',           writer TEXT,                             created REAL NOT NULL,
        indexed INTEGER NOT NULL DEFAULT 0
    );
INSERT INTO "answers" VALUES(1,'01a2254696ab1e00536c','20261129-030832-4e06','01a2254696abc828e158',0,'{"model": "base", "kind": "base", "where": "", "run": null, "path": "@HOME@/models/tiny"}',NULL,'{"system": "Speak as a captain.", "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512, "seed": 7}}',0,NULL,'It is a city in France.','','[]','complete','{"reason": "stop", "prompt_tokens": 9, "completion_tokens": 6, "time_to_first_token": 0.1, "seconds": 0.5}','15769-ad0c10fb',1795921712.81183,0);
INSERT INTO "answers" VALUES(2,'01a2254696aba3295d8b','20261129-030832-4e06','01a2254696abc828e158',1,'{"model": "captain", "kind": "tuned", "where": "", "run": "20261129-0305-captain-5473", "path": "@HOME@/jobs/20261129-0305-captain-5473/adapter"}',NULL,'{"system": "Speak as a captain.", "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512, "seed": 7}}',0,NULL,'Aye, north by east, past the anchor.','','[]','complete','{"reason": "stop", "prompt_tokens": 9, "completion_tokens": 7, "time_to_first_token": 0.1, "seconds": 0.5}','15769-ad0c10fb',1.79592171281183648114e+09,0);
INSERT INTO "answers" VALUES(3,'01a2254696b881ac29c5','20261129-030832-4e06','01a2254696b8d1e07240',0,'{"model": "base", "kind": "base", "where": "", "run": null, "path": "@HOME@/models/tiny"}','01a2254696ab1e00536c','{"system": "Speak as a captain.", "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512, "seed": 7}}',0,NULL,'The wind is a movement of air.','','[]','complete','{"reason": "stop", "prompt_tokens": 9, "completion_tokens": 7, "time_to_first_token": 0.1, "seconds": 0.5}','15769-ad0c10fb',1.79592171282492494579e+09,0);
INSERT INTO "answers" VALUES(4,'01a2254696b842204e1f','20261129-030832-4e06','01a2254696b8d1e07240',1,'{"model": "captain", "kind": "tuned", "where": "", "run": "20261129-0305-captain-5473", "path": "@HOME@/jobs/20261129-0305-captain-5473/adapter"}','01a2254696aba3295d8b','{"system": "Speak as a captain.", "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512, "seed": 7}}',0,NULL,'Aye, from the west.','','[]','complete','{"reason": "stop", "prompt_tokens": 9, "completion_tokens": 4, "time_to_first_token": 0.1, "seconds": 0.5}','15769-ad0c10fb',1.79592171282493114469e+09,0);
INSERT INTO "answers" VALUES(5,'01a2254696b917c12632','20261129-030832-2d09','01a2254696b97d70dd76',0,'{"model": "captain", "kind": "tuned", "where": "", "run": "20261129-0305-captain-5473", "path": "@HOME@/jobs/20261129-0305-captain-5473/adapter"}',NULL,'{"system": "", "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512, "seed": 7}}',0,NULL,'A rope named tide …','','[]','stopped','{"time_to_first_token": 0.1, "seconds": 0.4}','15769-ad0c10fb',1.79592171282519984243e+09,0);
INSERT INTO "answers" VALUES(6,'01a2254696b9199ce1a5','20261129-030832-2d09','01a2254696b97d70dd76',1,'{"model": "gpt", "kind": "hosted", "where": "elsewhere", "run": null, "path": ""}',NULL,'{"system": "", "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512, "seed": 7}}',0,NULL,'','','[]','failed','{"title": "No answer", "message": "elsewhere did not answer.", "hint": "Is it up?"}','15769-ad0c10fb',1.79592171282520437244e+09,0);
INSERT INTO "answers" VALUES(7,'01a2254696b9556786c6','20261129-030832-2d09','01a2254696b9eecffe71',0,'{"model": "captain", "kind": "tuned", "where": "", "run": "20261129-0305-captain-5473", "path": "@HOME@/jobs/20261129-0305-captain-5473/adapter"}','01a2254696b917c12632','{"system": "", "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512, "seed": 7}}',0,NULL,'One, two, three.','','[]','complete','{"reason": "stop", "prompt_tokens": 9, "completion_tokens": 3, "time_to_first_token": 0.1, "seconds": 0.5}','15769-ad0c10fb',1.79592171282538127898e+09,0);
INSERT INTO "answers" VALUES(8,'01a2254696b9cca9ba06','20261129-030832-2d09','01a2254696b9eecffe71',1,'{"model": "gpt", "kind": "hosted", "where": "elsewhere", "run": null, "path": ""}',NULL,'{"system": "", "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512, "seed": 7}}',0,NULL,'There are 9,096.','','[]','complete','{"reason": "stop", "prompt_tokens": 9, "completion_tokens": 3, "time_to_first_token": 0.1, "seconds": 0.5}','15769-ad0c10fb',1.79592171282539272308e+09,0);
CREATE TABLE chats (
        row INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        settings TEXT NOT NULL,                  blind INTEGER NOT NULL               );
INSERT INTO "chats" VALUES(1,'20261129-030832-4e06','Where lies the harbour?',1.79592171281179428105e+09,1.79592171282493567462e+09,'{"system": "Speak as a captain.", "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512, "seed": null}}',0);
INSERT INTO "chats" VALUES(2,'20261129-030832-2d09','Name a rope – in Grüße aus Köln.',1.79592171282518315317e+09,1.7959217128253960609e+09,'{"system": "", "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512, "seed": null}}',0);
CREATE TABLE panes (
        chat TEXT NOT NULL,
        position INTEGER NOT NULL,
        speaker TEXT NOT NULL,                   shown TEXT NOT NULL,                     head TEXT,                               PRIMARY KEY (chat, position)
    );
INSERT INTO "panes" VALUES('20261129-030832-4e06',0,'{"model": "base", "kind": "base", "where": "", "run": null, "path": "@HOME@/models/tiny"}','["01a2254696ab1e00536c", "01a2254696b881ac29c5"]','01a2254696b881ac29c5');
INSERT INTO "panes" VALUES('20261129-030832-4e06',1,'{"model": "captain", "kind": "tuned", "where": "", "run": "20261129-0305-captain-5473", "path": "@HOME@/jobs/20261129-0305-captain-5473/adapter"}','["01a2254696aba3295d8b", "01a2254696b842204e1f"]','01a2254696b842204e1f');
INSERT INTO "panes" VALUES('20261129-030832-2d09',0,'{"model": "captain", "kind": "tuned", "where": "", "run": "20261129-0305-captain-5473", "path": "@HOME@/jobs/20261129-0305-captain-5473/adapter"}','["01a2254696b917c12632", "01a2254696b9556786c6"]','01a2254696b9556786c6');
INSERT INTO "panes" VALUES('20261129-030832-2d09',1,'{"model": "gpt", "kind": "hosted", "where": "elsewhere", "run": null, "path": ""}','["01a2254696b9cca9ba06"]','01a2254696b9cca9ba06');
CREATE TABLE turns (
        row INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        chat TEXT NOT NULL,
        number INTEGER NOT NULL,
        messages TEXT NOT NULL,                  prompt TEXT NOT NULL,
        settings TEXT NOT NULL,                  tools TEXT NOT NULL,                     source TEXT,                             edits TEXT,                              created REAL NOT NULL,
        indexed INTEGER NOT NULL DEFAULT 0
    );
INSERT INTO "turns" VALUES(1,'01a2254696abc828e158','20261129-030832-4e06',1,'[{"role": "user", "content": "Where lies the harbour?"}]','Where lies the harbour?','{"system": "Speak as a captain.", "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512, "seed": 7}}','[]',NULL,NULL,1.79592171281181812287e+09,0);
INSERT INTO "turns" VALUES(2,'01a2254696b8d1e07240','20261129-030832-4e06',2,'[{"role": "user", "content": "And the wind?\nSay it short."}]','And the wind?
Say it short.','{"system": "Speak as a captain.", "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512, "seed": 7}}','[]',NULL,NULL,1.79592171282491326329e+09,0);
INSERT INTO "turns" VALUES(3,'01a2254696b97d70dd76','20261129-030832-2d09',1,'[{"role": "user", "content": "Name a rope \u2013 in Gr\u00fc\u00dfe aus K\u00f6ln."}]','Name a rope – in Grüße aus Köln.','{"system": "", "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512, "seed": 7}}','[]',NULL,NULL,1.79592171282519721987e+09,0);
INSERT INTO "turns" VALUES(4,'01a2254696b9eecffe71','20261129-030832-2d09',2,'[{"role": "user", "content": "Count the stars"}]','Count the stars','{"system": "", "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512, "seed": 7}}','[]',NULL,NULL,1.79592171282537770276e+09,0);
CREATE TABLE votes (
        row INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        chat TEXT NOT NULL,
        turn TEXT NOT NULL,
        answers TEXT NOT NULL,                   verdict TEXT NOT NULL,                   choice TEXT,                             reason TEXT NOT NULL,
        blind INTEGER NOT NULL,
        created REAL NOT NULL,
        withdrawn REAL                       );
INSERT INTO "votes" VALUES(1,'01a2254696b8d6d389c1','20261129-030832-4e06','01a2254696abc828e158','["01a2254696ab1e00536c", "01a2254696aba3295d8b"]','worse','01a2254696aba3295d8b','a slip of the finger',1,1.79592171282487773897e+09,1.79592171282489156724e+09);
INSERT INTO "votes" VALUES(2,'01a2254696b8b156957d','20261129-030832-4e06','01a2254696abc828e158','["01a2254696ab1e00536c", "01a2254696aba3295d8b"]','better','01a2254696aba3295d8b','knows the way',1,1.79592171282488942147e+09,NULL);
INSERT INTO "votes" VALUES(3,'01a2254696b97ed14544','20261129-030832-4e06','01a2254696b8d1e07240','["01a2254696b881ac29c5", "01a2254696b842204e1f"]','tie',NULL,'',1,1.79592171282516312605e+09,NULL);
INSERT INTO "votes" VALUES(4,'01a2254696b96fa38ae6','20261129-030832-2d09','01a2254696b9eecffe71','["01a2254696b9556786c6", "01a2254696b9cca9ba06"]','bad',NULL,'',0,1.79592171282556056972e+09,NULL);
CREATE INDEX chats_updated ON chats (updated);
CREATE INDEX turns_chat ON turns (chat);
CREATE INDEX turns_new ON turns (indexed) WHERE indexed = 0;
CREATE INDEX answers_chat ON answers (chat);
CREATE INDEX answers_writing ON answers (state) WHERE state = 'writing';
CREATE INDEX answers_new ON answers (indexed) WHERE indexed = 0;
CREATE INDEX votes_chat ON votes (chat);
COMMIT;
